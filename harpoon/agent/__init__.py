"""The host daemon that runs tasks and reports them, and the server's client to it.

An agent decides nothing about where a task runs. It obeys the highest token it has adopted, keeps its tasks
running by their restart policy, and tells every change of state on one event stream.
"""
