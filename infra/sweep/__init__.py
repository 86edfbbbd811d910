"""What carries a stack's labels in the cloud and is in no state: finding it, judging it, removing it.

`look` asks Google (the caller says how: the command over httpx, the provider over its own session), `states` asks
Pulumi, `judge` compares the two and is pure, `remove` deletes, each thing only after a second look.
"""
