"""Chinese: the names of the world and the wordings of the questions (slots as in phrasings.py)."""

WORDS = {
    "circle": "圆形", "square": "正方形", "triangle": "三角形", "star": "星形", "heart": "心形", "cross": "十字形",
    "diamond": "菱形", "ring": "圆环", "hexagon": "六边形", "crescent": "月牙形", "text": "文字", "red": "红色",
    "orange": "橙色", "yellow": "黄色", "green": "绿色", "blue": "蓝色", "purple": "紫色", "pink": "粉色", "brown": "棕色",
    "black": "黑色", "white": "白色", "pale grey": "浅灰色", "pale blue": "浅蓝色", "pale green": "浅绿色",
    "pale yellow": "浅黄色", "dark grey": "深灰色", "dark blue": "深蓝色", "dark green": "深绿色", "small": "小",
    "medium": "中", "large": "大", "plain": "纯色", "striped": "条纹", "dotted": "圆点", "outlined": "描边",
    "top left": "左上", "top": "上方", "top right": "右上", "left": "左边", "centre": "中间", "right": "右边",
    "bottom left": "左下", "bottom": "下方", "bottom right": "右下", "yes": "是", "no": "否", "none": "零",
    "one": "一", "two": "二", "three": "三", "four": "四", "five": "五", "six": "六", "seven": "七", "eight": "八",
    "nine": "九", "ten": "十",
}
NOUNS = ("物体", "图形", "东西")

TRAIN = {
    "colour": (
        "{ref}是什么颜色?", "{ref}的颜色是什么?", "{ref}是什么颜色的?", "请说出{ref}的颜色。", "告诉我{ref}的颜色。", "{ref}有什么颜色?",
        "图中{ref}是什么颜色?", "{ref}什么颜色?",
    ),
    "shape": (
        "{ref}是什么形状?", "{ref}的形状是什么?", "{ref}是什么形状的?", "请说出{ref}的形状。", "告诉我{ref}的形状。", "{ref}有什么形状?",
        "图中{ref}是什么形状?", "{ref}什么形状?",
    ),
    "size": (
        "{ref}有多大?", "{ref}的大小是什么?", "{ref}是大、中还是小?", "请说出{ref}的大小。", "告诉我{ref}的大小。", "图中{ref}有多大?",
        "{ref}多大?",
    ),
    "count": (
        "有几个{nouns}?", "图中有几个{nouns}?", "有多少个{nouns}?", "图中有多少个{nouns}?", "请数一数{nouns}。", "你看到几个{nouns}?",
        "一共有几个{nouns}?", "{nouns}有几个?",
    ),
    "count_of": (
        "有几个{things}?", "图中有几个{things}?", "有多少个{things}?", "图中有多少个{things}?", "请数一数{things}。",
        "你看到几个{things}?", "一共有几个{things}?", "{things}有几个?",
    ),
    "exists": ("有{a}吗?", "图中有{a}吗?", "有没有{a}?", "图中有没有{a}?", "你看到{a}了吗?", "这里有{a}吗?", "能看到{a}吗?"),
    "where": (
        "{ref}在哪里?", "{ref}在图中的什么位置?", "{ref}在哪?", "请说出{ref}的位置。", "告诉我{ref}在哪里。", "图中{ref}在哪里?",
        "{ref}的位置是什么?",
    ),
    "describe": ("请描述这张图片。", "描述图片。", "图片里有什么?", "你看到了什么?", "图中有什么?", "请说说这张图。", "这张图片是什么?"),
}
UNSEEN = {
    "colour": ("你知道{ref}的颜色吗?", "请问{ref}是什么颜色?", "{ref}涂了什么颜色?"),
    "shape": ("你知道{ref}的形状吗?", "请问{ref}是什么形状?", "{ref}看起来是什么形状?"),
    "size": ("你知道{ref}的大小吗?", "请问{ref}有多大?", "{ref}属于大、中、小哪一种?"),
    "count": ("请问有几个{nouns}?", "图片上{nouns}的数量是多少?", "帮我数数{nouns}。"),
    "count_of": ("请问有几个{things}?", "图片上{things}的数量是多少?", "帮我数数{things}。"),
    "exists": ("请问有{a}吗?", "图片上是否有{a}?", "是不是有{a}?"),
    "where": ("请问{ref}在哪里?", "你知道{ref}在哪里吗?", "{ref}位于什么地方?"),
    "describe": ("请问图里有什么?", "说一说图片的内容。", "帮我描述一下图片。"),
}
