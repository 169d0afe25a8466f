"""Sharpening over HTTP: jobs on files of given folders (extra ``serve``); see `run.serve`."""
