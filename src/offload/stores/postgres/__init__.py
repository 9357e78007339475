"""The PostgreSQL store: any number of nodes on one database."""
