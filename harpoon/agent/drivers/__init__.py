"""What runs a task on a host: one module a driver."""
