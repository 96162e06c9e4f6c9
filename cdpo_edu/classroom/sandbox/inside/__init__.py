"""What is in the student's process: its program, and the form in which values pass. Nothing of cdpo_edu."""
