"""What every Sax process needs: logs, traces, metrics, health, gRPC servers and channels."""
