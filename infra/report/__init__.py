"""A preview as a report: read from what Pulumi and preflight wrote, judged, and drawn as Markdown or JSON."""
