DROP TABLE controls;
DROP TABLE partitions;
DROP TABLE instances;
DROP TABLE event_failures;
DROP TABLE event_queue;
DROP TABLE domain_events;
