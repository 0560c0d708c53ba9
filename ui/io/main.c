/* binnacle-io: the disk exerciser by itself. */
#include "ui/io/io.h"

int main(int argc, char **argv)
{
	return io_main("binnacle-io", argc, argv);
}
