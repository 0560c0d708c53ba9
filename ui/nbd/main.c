/* binnacle-nbd: the disk server by itself. */
#include "ui/nbd/nbd.h"

int main(int argc, char **argv)
{
	return nbd_main("binnacle-nbd", argc, argv);
}
