"""Every flight that left New York in 2013: will it arrive more than 15 minutes late?"""
