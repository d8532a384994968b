"""Processes that work together: who they are, how they exchange numbers, and how they are started.

`group` says which process this is among how many, `collectives` has the exchanges by the names that
torch.distributed gives them, `launch` starts the processes, `children` ends them with the command that did.
Nothing here knows what is computed.
"""
