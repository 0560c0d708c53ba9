/* binnacle-img: the image tool by itself. */
#include "ui/img/img.h"

int main(int argc, char **argv)
{
	return img_main("binnacle-img", argc, argv);
}
