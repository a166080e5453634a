"""What a study is for: trained trials chosen, weighed and packed to segment new volumes."""
