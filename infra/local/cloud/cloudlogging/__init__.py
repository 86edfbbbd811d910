"""Cloud Logging v2: entries:write, and entries:list with the filter language that log readers use."""
