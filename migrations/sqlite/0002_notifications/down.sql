DROP VIEW notification_overview;
DROP TABLE delivery_stats;
DROP TABLE work_items;
DROP TABLE notification_history;
DROP TABLE deliveries;
DROP TABLE notifications;
