"""The compact torch core: no files, no printing, no global state."""
