"""The only place that knows neonize: one WhatsApp session in one process."""
