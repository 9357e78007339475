-- Traces: to which one a task belongs.

ALTER TABLE payloads ADD COLUMN traceparent TEXT;
