"""What a machine tells of its heat and its power, from files of the kernel; never a guess."""
