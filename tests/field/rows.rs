//! What a row of data says, and what is made of it.
