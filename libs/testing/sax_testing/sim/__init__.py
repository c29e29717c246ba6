"""The control plane under simulation: production code, virtual time, faults from a seed."""
