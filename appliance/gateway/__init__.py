"""What the appliance does: devices, messages, events, webhooks, accounts."""
