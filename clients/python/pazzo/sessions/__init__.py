"""The module paths of the old Pazzo, as thin aliases of the new ones."""
