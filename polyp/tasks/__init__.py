"""Tasks define the meaning of logits: one class against the background, or several classes."""

from polyp.tasks.task import Binary, Multiclass, Task

__all__ = ["Binary", "Multiclass", "Task"]
