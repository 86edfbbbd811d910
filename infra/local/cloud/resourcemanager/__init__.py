"""Cloud Resource Manager v1 and v3: projects (made by the administrator) and their allow policies."""
