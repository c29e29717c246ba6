"""Object stores: one port, three adapters (memory, a local directory, a Google Cloud Storage bucket)."""
