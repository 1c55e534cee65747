"""The project's own WhatsApp network on loopback: a server that unmodified clients take for the real one."""
