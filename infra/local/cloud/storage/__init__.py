"""Cloud Storage JSON API v1: buckets, their policies, objects with generations, uploads and downloads."""
