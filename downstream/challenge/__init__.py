"""Challenge: test predictions in the form that the ISIC challenge of 2018 takes."""
