"""Facts about released vLLM versions, as files, and the tool that reads them out of vLLM's wheels."""
