"""What is run: `process` is a process of any kind, from settings to a clean end; `server` is what makes up a server."""
