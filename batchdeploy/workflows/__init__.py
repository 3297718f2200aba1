"""What a person asks for, one verb a module. A door calls a workflow and adds only its own manners."""
