"""The way to WhatsApp: one port, a simulator, and supervised session workers."""
