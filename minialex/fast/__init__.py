"""Fast forms for the CPU: each derives itself from its page in minialex/layers."""
