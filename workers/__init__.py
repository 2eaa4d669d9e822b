"""Webhook workers: they read the log, enqueue deliveries, and make the attempts."""
