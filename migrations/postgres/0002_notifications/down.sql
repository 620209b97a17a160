DROP VIEW notification_overview;
DROP TABLE delivery_stats, work_items, notification_history, deliveries, notifications;
