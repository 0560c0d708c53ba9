#include "ui/vnc/vnc_impl.h"

#include <stddef.h>

struct keysym_key {
	uint32_t keysym;
	uint16_t scancode;
};

/* Keys that make no character. */
static const struct keysym_key special[] = {
	{XK_BackSpace, 0x0e},	 {XK_Tab, 0x0f},
	{XK_ISO_Left_Tab, 0x0f}, {XK_Return, 0x1c},
	{XK_Escape, 0x01},	 {XK_Delete, 0x153},
	{XK_Home, 0x147},	 {XK_Left, 0x14b},
	{XK_Up, 0x148},		 {XK_Right, 0x14d},
	{XK_Down, 0x150},	 {XK_Page_Up, 0x149},
	{XK_Page_Down, 0x151},	 {XK_End, 0x14f},
	{XK_Insert, 0x152},	 {XK_Num_Lock, 0x45},
	{XK_Scroll_Lock, 0x46},	 {XK_Pause, 0x146},
	{XK_Break, 0x146},	 {XK_Print, 0x137},
	{XK_Sys_Req, 0x54},	 {XK_Menu, 0x15d},
	{XK_F1, 0x3b},		 {XK_F2, 0x3c},
	{XK_F3, 0x3d},		 {XK_F4, 0x3e},
	{XK_F5, 0x3f},		 {XK_F6, 0x40},
	{XK_F7, 0x41},		 {XK_F8, 0x42},
	{XK_F9, 0x43},		 {XK_F10, 0x44},
	{XK_F11, 0x57},		 {XK_F12, 0x58},
	{XK_Shift_L, 0x2a},	 {XK_Shift_R, 0x36},
	{XK_Control_L, 0x1d},	 {XK_Control_R, 0x11d},
	{XK_Meta_L, 0x38},	 {XK_Alt_L, 0x38},
	{XK_Meta_R, 0x138},	 {XK_Alt_R, 0x138},
	{XK_Mode_switch, 0x138}, {XK_ISO_Level3_Shift, 0x138},
	{XK_Super_L, 0x15b},	 {XK_Super_R, 0x15c},
	{XK_KP_Enter, 0x11c},	 {XK_KP_Multiply, 0x37},
	{XK_KP_Add, 0x4e},	 {XK_KP_Subtract, 0x4a},
	{XK_KP_Decimal, 0x53},	 {XK_KP_Divide, 0x135},
	{XK_KP_0, 0x52},	 {XK_KP_1, 0x4f},
	{XK_KP_2, 0x50},	 {XK_KP_3, 0x51},
	{XK_KP_4, 0x4b},	 {XK_KP_5, 0x4c},
	{XK_KP_6, 0x4d},	 {XK_KP_7, 0x47},
	{XK_KP_8, 0x48},	 {XK_KP_9, 0x49},
	{XK_KP_Home, 0x47},	 {XK_KP_Left, 0x4b},
	{XK_KP_Up, 0x48},	 {XK_KP_Right, 0x4d},
	{XK_KP_Down, 0x50},	 {XK_KP_Page_Up, 0x49},
	{XK_KP_Page_Down, 0x51}, {XK_KP_End, 0x4f},
	{XK_KP_Begin, 0x4c},	 {XK_KP_Insert, 0x52},
	{XK_KP_Delete, 0x53},
};

#define UNICODE_KEYSYM 0x01000000u

bool vnc_keysym_key(uint32_t keysym, uint16_t *scancode, bool *is_char,
		    bool *shift)
{
	size_t i;

	*is_char = *shift = false;
	for (i = 0; i < sizeof(special) / sizeof(special[0]); i++) {
		if (special[i].keysym == keysym) {
			*scancode = special[i].scancode;
			return true;
		}
	}
	if ((keysym & 0xff000000u) == UNICODE_KEYSYM)
		keysym &= 0x00ffffffu;
	*is_char = true;
	/* Control characters have symbols of their own, above. */
	return keysym >= ' ' && keysym <= '~' &&
	       console_us_key(keysym, scancode, shift);
}
