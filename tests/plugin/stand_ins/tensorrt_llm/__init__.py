"""A stand-in: TensorRT-LLM needs NVIDIA's GPUs and package index."""

from .llmapi import LLM, SamplingParams

__all__ = ["LLM", "SamplingParams"]
