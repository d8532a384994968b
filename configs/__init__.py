"""The Hydra tree, one folder a group, and the schema that its values must satisfy."""
