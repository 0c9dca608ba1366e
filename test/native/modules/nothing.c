/* A shared object without vanity_program_entry. */
int nothing;
