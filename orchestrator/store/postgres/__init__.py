"""The store on PostgreSQL: for several processes, on any number of machines. Needs the extra `postgres`."""
