"""`python -m infra.local.gcp_plugin ENGINE_ADDRESS`, which is what the installed executable runs."""

from infra.local.gcp_plugin.plugin import main

main()
