"""Service Usage v1: which APIs are enabled in a project, and (v1beta1) its consumer quota metrics."""
