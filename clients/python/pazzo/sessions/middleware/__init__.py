"""The middleware of the old Pazzo."""
