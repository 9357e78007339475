-- Traces: to which one a task belongs. Without a default, so that no row is rewritten.

ALTER TABLE requests ADD COLUMN traceparent text;
