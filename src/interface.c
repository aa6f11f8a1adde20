/* Changes with the arguments of any function of the library, so that no other build is called. */
int ep_interface(void) { return 7; }
