DROP TABLE controls, partitions, instances, event_failures, event_queue, domain_events;
DROP FUNCTION queue_events();
