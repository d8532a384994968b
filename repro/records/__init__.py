"""What stages write down beside their tables, read back in the form that they write."""
