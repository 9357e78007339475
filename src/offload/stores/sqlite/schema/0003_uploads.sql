-- Results that are pushed: where to.

ALTER TABLE tasks ADD COLUMN upload_to TEXT;
