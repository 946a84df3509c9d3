"""The pace of requests: queues, and how long domains, hosts and addresses are left alone."""
