"""The stores of the old Pazzo."""
