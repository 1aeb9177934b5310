"""What the logits of a network mean: one class against the background, or several."""

from polyp.tasks.task import Binary, Multiclass, Task

__all__ = ["Binary", "Multiclass", "Task"]
